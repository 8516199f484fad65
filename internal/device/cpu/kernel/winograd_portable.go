package kernel

type laneVector = [Lanes]float32

// winogradInputPortable transforms the first cols columns of a tile, the
// others being zero: Bᵀd down the columns, then along the rows.
func winogradInputPortable(cols int, a *winogradInArgs) {
	for c := range a.n {
		var half [winogradIn][winogradIn]laneVector
		for j := range cols {
			var d [winogradIn]*laneVector
			for i := range d {
				d[i] = pixel(a.row[i], c*a.rowStep[i]/4+j*Lanes)
			}
			for i, v := range winogradInput(&d) {
				half[i][j] = v
			}
		}
		for i := range half {
			var d [winogradIn]*laneVector
			for j := range d {
				d[j] = &half[i][j]
			}
			for j, v := range winogradInput(&d) {
				*pixel(a.dst, (c*a.dstStep+(i*winogradIn+j)*a.position)/4) = v
			}
		}
	}
}

// winogradInput is Bᵀd for one direction.
func winogradInput(d *[winogradIn]*laneVector) (t [winogradIn]laneVector) {
	for l := range Lanes {
		t[0][l] = fma32(4, d[0][l], fma32(-5, d[2][l], d[4][l]))
		even, odd := fma32(-4, d[2][l], d[4][l]), fma32(-4, d[1][l], d[3][l])
		t[1][l], t[2][l] = even+odd, even-odd
		even, odd = d[4][l]-d[2][l], d[3][l]-d[1][l]
		t[3][l], t[4][l] = fma32(2, odd, even), fma32(-2, odd, even)
		t[5][l] = fma32(4, d[1][l], fma32(-5, d[3][l], d[5][l]))
	}
	return t
}

// winogradOutputPortable transforms a tile back and stores or adds its first
// cols columns: Aᵀm down the columns, then along the rows.
func winogradOutputPortable(cols int, accumulate bool, a *winogradOutArgs) {
	for c := range a.n {
		var half [winogradOut][winogradIn]laneVector
		for j := range winogradIn {
			var m [winogradIn]*laneVector
			for i := range m {
				m[i] = pixel(a.src, (c*a.srcStep+(i*winogradIn+j)*a.position)/4)
			}
			for i, v := range winogradOutput(&m) {
				half[i][j] = v
			}
		}
		bias := *offset(a.bias, c*a.biasStep/4)
		for i := range half {
			var m [winogradIn]*laneVector
			for j := range m {
				m[j] = &half[i][j]
			}
			y := winogradOutput(&m)
			for j := range cols {
				d := pixel(a.row[i], c*a.rowStep[i]/4+j*Lanes)
				for l := range d {
					if accumulate {
						d[l] += y[j][l]
					} else {
						d[l] = y[j][l] + bias
					}
				}
			}
		}
	}
}

// winogradOutput is Aᵀm for one direction.
func winogradOutput(m *[winogradIn]*laneVector) (y [winogradOut]laneVector) {
	for l := range Lanes {
		sum, difference := m[1][l]+m[2][l], m[1][l]-m[2][l]
		farSum, farDifference := m[3][l]+m[4][l], m[3][l]-m[4][l]
		y[0][l] = (m[0][l] + sum) + farSum
		y[1][l] = fma32(2, farDifference, difference)
		y[2][l] = fma32(4, farSum, sum)
		y[3][l] = fma32(8, farDifference, difference) + m[5][l]
	}
	return y
}

func (a winogradProductArgs) portable(size, tiles int) {
	var weight laneVector
	for p := range a.positions {
		for g := range a.groups {
			for o := range size {
				for t := range tiles {
					var acc laneVector
					for k := range a.k {
						fillLanes(&weight, *offset(a.w, (p*a.wPosition+(g*a.k+k)*a.wStep)/4+o))
						fmaLanes(&acc, pixel(a.x, (p*a.xPosition+k*a.kStep)/4+t*Lanes), &weight)
					}
					*pixel(a.dst, (p*a.dstPosition+g*a.dstGroup+o*a.dstChan)/4+t*Lanes) = acc
				}
			}
		}
	}
}
