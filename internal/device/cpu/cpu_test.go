package cpu

import (
	"testing"

	"github.com/dploda/dploda/internal/device/conformance"
)

func TestConformance(t *testing.T) { conformance.Run(t, New()) }
