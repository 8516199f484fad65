package classifier

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/internal/device/cpu"
)

// TestNetworksOnMNIST trains both networks on real images: the CNN on 10,000, on which
// it reached 98.9 %, the larger one on as many as a few minutes allow. Its bar is
// what it reached from half of these in fewer steps.
func TestNetworksOnMNIST(t *testing.T) {
	folder := os.Getenv("DPLODA_DATA")
	if folder == "" || os.Getenv("DPLODA_TIER") != "full" {
		t.Skip("trains for minutes on MNIST: set DPLODA_TIER=full and DPLODA_DATA to a folder with mnist/")
	}
	open := func(split dataset.Split, n int) *subset {
		d, err := dataset.OpenIdx(filepath.Join(folder, "mnist"), split, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &subset{d, min(d.Len(), n)}
	}
	for _, n := range []struct {
		network              Network
		images, test, epochs int
		least                float64
	}{
		{CNN, 10_000, 10_000, 10, 0.98},
		{WRN, 3_000, 2_000, 4, 0.83},
	} {
		c := DefaultConfig(10, 2)
		c.Network, c.Epochs, c.LR, c.HoldOut = n.network, n.epochs, 1e-3, 0.1
		begin := time.Now()
		trained, err := Train(context.Background(), cpu.New(), open(dataset.Train, n.images), c)
		if err != nil {
			t.Fatal(err)
		}
		seconds, test := time.Since(begin).Seconds(), open(dataset.Test, n.test)
		accuracy := Accuracy(test, predict(t, trained, test))
		t.Logf("%s: %d parameters, %.3f GFLOP forward, epoch %d of %d, accuracy %.4f, %.0f s", n.network, trained.Parameters(),
			float64(trained.net.forward.FLOPs())/1e9, trained.Epoch, c.Epochs, accuracy, seconds)
		if accuracy < n.least {
			t.Errorf("%s reached %.4f, less than %.2f", n.network, accuracy, n.least)
		}
	}
}

// subset is the first n images.
type subset struct {
	dataset.Dataset
	n int
}

func (s *subset) Len() int { return s.n }
