package unet

import (
	"slices"
	"strings"
)

// oldNames are what diffusers before 0.17 called attention's layers.
var oldNames = map[string]string{
	"query":     "to_q",
	"key":       "to_k",
	"value":     "to_v",
	"proj_attn": "to_out.0",
}

// modernName is a tensor's name in today's diffusers.
func modernName(name string) string {
	parts := strings.Split(name, ".")
	if !slices.Contains(parts, "attentions") || len(parts) < 2 {
		return name
	}
	if modern, ok := oldNames[parts[len(parts)-2]]; ok {
		parts[len(parts)-2] = modern
	}
	return strings.Join(parts, ".")
}

// fits says whether a tensor of the given dimensions can be p: the same ones,
// or a 1x1 convolution that an old checkpoint has in a linear layer's place.
func fits(dims []int, p Parameter) bool {
	if slices.Equal(dims, p.Dims) {
		return true
	}
	return p.Module.Role == RoleAttention && len(p.Dims) == 2 && slices.Equal(dims, []int{p.Dims[0], p.Dims[1], 1, 1})
}
