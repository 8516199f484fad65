package classifier

import "github.com/dploda/dploda/model/diffusion"

// BestMapping says how far public classes alone would get: given how many
// images of each private class (column) a classifier of public classes (rows)
// put where, it returns the best private class for each public one, several to
// one allowed, and the share of images that this map gets right. It sees the
// answers, so it flatters the public classifier.
func BestMapping(counts [][]int) (private []int, accuracy float64) {
	right, all := 0, 0
	for _, row := range counts {
		best := 0
		for label, n := range row {
			all += n
			if n > row[best] {
				best = label
			}
		}
		private = append(private, best)
		if len(row) > 0 {
			right += row[best]
		}
	}
	return private, float64(right) / float64(max(all, 1))
}

// NearestCentroid predicts the class whose mean training image is nearest.
type NearestCentroid struct{ means [][]float64 } // nil for a class without images

// FitCentroids returns the means of each class's images.
func FitCentroids(images Images, classes int) *NearestCentroid {
	n := &NearestCentroid{means: make([][]float64, classes)}
	counts := make([]float64, classes)
	for i := range images.Len() {
		values, label := levels(images, i), images.Label(i)
		if n.means[label] == nil {
			n.means[label] = make([]float64, len(values))
		}
		counts[label]++
		for j, v := range values {
			n.means[label][j] += float64(v)
		}
	}
	for label, mean := range n.means {
		for j := range mean {
			mean[j] /= counts[label]
		}
	}
	return n
}

// Predict returns the class of each image.
func (n *NearestCentroid) Predict(images Images) []int {
	predicted := make([]int, images.Len())
	for i := range predicted {
		values, least := levels(images, i), -1.0
		for label, mean := range n.means {
			if mean == nil {
				continue
			}
			if d := squaredDistance(values, mean); least < 0 || d < least {
				predicted[i], least = label, d
			}
		}
	}
	return predicted
}

func levels(images Images, i int) []float32 {
	image := images.Image(i)
	values := make([]float32, len(image))
	diffusion.Levels(values, image)
	return values
}

func squaredDistance(values []float32, mean []float64) float64 {
	sum := 0.0
	for i, v := range values {
		d := float64(v) - mean[i]
		sum += float64(d * d)
	}
	return sum
}
