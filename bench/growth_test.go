package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatGrowsWithAHistoryIsSaid(t *testing.T) {
	require.Equal(t, "flat", growth(requests, 24, 24))
	require.Equal(t, "flat", growth(kibibyte, 50, 55), "that is chance")
	require.Equal(t, "flat", growth(seconds, 0.040, 0.058), "so is that")
	require.Equal(t, "**1.5 ×**", growth(seconds, 0.2, 0.3))
	require.Equal(t, "**10.0 ×**", growth(requests, 20, 200))
	cells := growthCells(requests, func(n int) float64 { return float64(n) / 10 })
	require.Equal(t, map[string]string{"10 records": "1", "1000 records": "100", "10000 records": "1000", growsColumn: "**10.0 ×**"}, cells)
}
