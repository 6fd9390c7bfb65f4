package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The drawing's size and the room around its axes, in pixels.
const (
	width, height = 640, 320
	left, bottom  = 60, 40
	right, top    = 170, 20
)

var strokes = []string{"#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94"}

// drawing draws the medians as lines, one step to the right for each size.
func drawing(sizes []int, medians [][]time.Duration) string {
	highest := time.Duration(1)
	for _, line := range medians {
		highest = max(highest, slices.Max(line))
	}
	x := func(i int) int { return left + (width-left-right)*i/max(1, len(sizes)-1) }
	y := func(d time.Duration) int {
		return height - bottom - int(int64(height-top-bottom)*int64(d)/int64(highest))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="#888"/>`+"\n", left, top, height-bottom, width-right)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%d µs</text>`+"\n", left-6, top+4, highest.Microseconds())
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">0</text>`+"\n", left-6, height-bottom+4)
	for i, size := range sizes {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%d</text>`+"\n", x(i), height-bottom+18, size)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">messages stored</text>`+"\n", (left+width-right)/2, height-6)
	for i, line := range medians {
		points := make([]string, len(line))
		for j, median := range line {
			points[j] = fmt.Sprintf("%d,%d", x(j), y(median))
		}
		stroke := strokes[i%len(strokes)]
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), stroke)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", width-right+10, top+16*(i+1), stroke, operations[i].name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
