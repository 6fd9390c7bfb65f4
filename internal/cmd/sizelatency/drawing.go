package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The drawing's size and the room around its axes, in pixels.
const (
	width, height = 760, 360
	left, bottom  = 70, 40
	right, top    = 280, 20
)

var strokes = []string{"#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#d49a2a"}

// drawing draws the medians as lines, one step to the right for each size. The times are on a logarithmic scale; what is
// measured in any session is dashed.
func drawing(sizes []int, medians [][]time.Duration) string {
	lowest, highest := medians[0][0], medians[0][0]
	for _, line := range medians {
		lowest, highest = min(lowest, slices.Min(line)), max(highest, slices.Max(line))
	}
	bottomDecade, topDecade := math.Floor(math.Log10(float64(lowest))), math.Ceil(math.Log10(float64(highest)))
	x := func(i int) int { return left + (width-left-right)*i/max(1, len(sizes)-1) }
	y := func(log float64) int {
		return height - bottom - int(float64(height-top-bottom)*(log-bottomDecade)/max(1, topDecade-bottomDecade))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="#888"/>`+"\n", left, top, height-bottom, width-right)
	for decade := bottomDecade; decade <= topDecade; decade++ {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%v</text>`+"\n", left-6, y(decade)+4, time.Duration(math.Pow(10, decade)))
		fmt.Fprintf(&b, `<path d="M%d %dH%d" stroke="#ddd"/>`+"\n", left, y(decade), width-right)
	}
	for i, size := range sizes {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%d</text>`+"\n", x(i), height-bottom+18, size)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">messages stored</text>`+"\n", (left+width-right)/2, height-6)
	for i, line := range medians {
		points := make([]string, len(line))
		for j, median := range line {
			points[j] = fmt.Sprintf("%d,%d", x(j), y(math.Log10(float64(median))))
		}
		stroke, dashes := strokes[i%len(operations)%len(strokes)], ""
		if i >= len(operations) {
			dashes = ` stroke-dasharray="5 3"`
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "), stroke, dashes)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", width-right+10, top+18*(i+1), stroke, rows[i])
	}
	b.WriteString("</svg>\n")
	return b.String()
}
