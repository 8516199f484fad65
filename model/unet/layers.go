package unet

import "github.com/dploda/dploda/internal/device"

// graph is a network while it is built.
type graph struct {
	b      *device.Builder
	config Config
	opts   Options
	net    *Net
	temb   device.Value // SiLU of the sum of time and class embedding, {TimeDim, 1, 1}
}

// declare adds a module and its tensors; bias is NoParam where it has none.
func (g *graph) declare(m Module, trainable bool) (weight, bias device.ParamID) {
	g.net.Modules = append(g.net.Modules, m)
	trainable = trainable || g.opts.Trainable != nil && g.opts.Trainable(m)
	ids := [2]device.ParamID{device.NoParam, device.NoParam}
	for i, p := range m.Parameters() {
		ids[i] = g.b.Param(p.Name, trainable, p.Dims...)
	}
	return ids[0], ids[1]
}

func (g *graph) conv(name string, x device.Value, out, kernel int, c device.Conv) device.Value {
	m := Module{Name: name, Role: RoleConv, In: g.b.Shape(x).C, Out: out, Kernel: kernel, Conv: c}
	w, bias := g.declare(m, false)
	return g.adapt(m, x, g.b.Conv2D(x, w, bias, c))
}

func (g *graph) linear(name string, role Role, x device.Value, out int) device.Value {
	m := Module{Name: name, Role: role, In: g.b.Shape(x).C, Out: out, Kernel: 1}
	w, bias := g.declare(m, false)
	return g.adapt(m, x, g.b.Linear(x, w, bias))
}

func (g *graph) adapt(m Module, x, y device.Value) device.Value {
	if g.opts.Adapt == nil {
		return y
	}
	return g.opts.Adapt(g.b, m, x, y)
}

func (g *graph) norm(name string, x device.Value, groups int, silu bool) device.Value {
	n := g.b.Shape(x).C
	gamma, beta := g.declare(Module{Name: name, Role: RoleNorm, In: n, Out: n, Kernel: 1}, false)
	return g.b.GroupNorm(x, gamma, beta, groups, float32(g.config.NormEps), silu)
}

// embed builds the time embedding, with the class embedding added.
func (g *graph) embed() {
	c := g.config
	t := g.b.Input(InputTime, device.Shape{C: c.BlockOutChannels[0], H: 1, W: 1})
	t = g.linear("time_embedding.linear_1", RoleTime, t, c.TimeDim())
	t = g.linear("time_embedding.linear_2", RoleTime, g.b.SiLU(t), c.TimeDim())
	rows, fresh := c.NumClassEmbeds, false
	if g.opts.ClassRows > 0 {
		rows, fresh = g.opts.ClassRows, true
	}
	if rows > 0 {
		m := Module{Name: ClassEmbedding, Role: RoleClass, In: rows, Out: c.TimeDim(), Kernel: 1}
		table, _ := g.declare(m, fresh)
		g.net.Class, g.net.Conditional = g.b.Index(InputClass, rows), true
		t = g.b.Add(t, g.b.Embedding(table, g.net.Class))
	}
	g.temb = g.b.SiLU(t) // every residual block begins with it
}

// ClassEmbedding is the module name of the class embedding.
const ClassEmbedding = "class_embedding"
