package bench

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/internal/latency"
)

// The measures of a chart, in pixels.
const (
	chartWidth, chartHeight   = 860, 320
	chartLeft, chartRight     = 70, 90
	chartTop, chartBottom     = 40, 45
	plotWidth                 = chartWidth - chartLeft - chartRight
	plotHeight                = chartHeight - chartTop - chartBottom
	percentile50, colour50    = "p50", "#2b6cb0"
	percentile95, colour95    = "p95", "#b7791f"
	percentile99, colour99    = "p99", "#c53030"
	throughput, colourThrough = "operations/s", "#2f855a"
)

// series is a line of a chart, a value for each place on its x axis. A value of 0 is left out.
type series struct {
	name, colour string
	values       []float64
}

// chart has a logarithmic y axis.
type chart struct {
	title, x, y string
	places      []string
	series      []series
}

// Plot returns a page in HTML that shows the latency of each run over time and, of several runs, throughput and latency by
// the number of agents. It needs nothing from elsewhere.
func Plot(reports []Report) string {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<title>sharedcontext bench</title>\n" +
		"<style>body { font-family: sans-serif; margin: 2em; } svg { display: block; margin-bottom: 2em; }</style>\n</head>\n<body>\n<h1>sharedcontext bench</h1>\n")
	if len(reports) > 1 {
		places := make([]string, len(reports))
		perSecond := make([]float64, len(reports))
		all := make([]latency.Summary, len(reports))
		for i, r := range reports {
			places[i], perSecond[i], all[i] = fmt.Sprint(r.Agents), r.PerSecond, r.All
		}
		b.WriteString(chart{"Throughput by number of agents", "agents", "operations a second", places, []series{{throughput, colourThrough, perSecond}}}.svg())
		b.WriteString(chart{"Latency by number of agents", "agents", "milliseconds", places, percentiles(all)}.svg())
	}
	for _, r := range reports {
		places := make([]string, len(r.BySecond))
		for i := range places {
			places[i] = fmt.Sprint(i + 1)
		}
		b.WriteString(chart{
			fmt.Sprintf("Latency over time: %d agents, %.0f operations a second", r.Agents, r.PerSecond), "seconds", "milliseconds", places, percentiles(r.BySecond),
		}.svg())
	}
	b.WriteString("</body>\n</html>\n")
	return b.String()
}

func percentiles(summaries []latency.Summary) []series {
	lines := []series{{percentile50, colour50, nil}, {percentile95, colour95, nil}, {percentile99, colour99, nil}}
	for _, s := range summaries {
		for i, value := range []float64{s.P50, s.P95, s.P99} {
			lines[i].values = append(lines[i].values, value)
		}
	}
	return lines
}

func (c chart) svg() string {
	low, high := math.Inf(1), 0.0
	for _, line := range c.series {
		for _, value := range line.values {
			if value > 0 {
				low, high = min(low, value), max(high, value)
			}
		}
	}
	if high == 0 {
		low, high = 1, 10
	}
	// Whole powers of ten around the values.
	bottom, top := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	top = max(top, bottom+1)
	y := func(value float64) float64 {
		return chartTop + plotHeight*(top-math.Log10(value))/(top-bottom)
	}
	x := func(place int) float64 {
		return chartLeft + plotWidth*(float64(place)+0.5)/float64(max(1, len(c.places)))
	}

	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, "<title>%s</title>\n<text x=\"%d\" y=\"22\" font-size=\"15\">%s</text>\n", html.EscapeString(c.title), chartLeft, html.EscapeString(c.title))
	for power := bottom; power <= top; power++ {
		at := y(math.Pow(10, power))
		fmt.Fprintf(&b, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", chartLeft, at, chartLeft+plotWidth, at)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", chartLeft-6, at+4, math.Pow(10, power))
	}
	every := len(c.places)/12 + 1
	for i, place := range c.places {
		if i%every == 0 {
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x(i), chartTop+plotHeight+16, html.EscapeString(place))
		}
	}
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", chartLeft+plotWidth/2, chartHeight-8, html.EscapeString(c.x))
	fmt.Fprintf(&b, "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", chartTop+plotHeight/2, html.EscapeString(c.y))
	for i, line := range c.series {
		var points []string
		for place, value := range line.values {
			if value > 0 {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(place), y(value)))
				fmt.Fprintf(&b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%s\"><title>%s %g</title></circle>\n", x(place), y(value), line.colour, line.name, value)
			}
		}
		fmt.Fprintf(&b, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", strings.Join(points, " "), line.colour)
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", chartLeft+plotWidth+8, chartTop+12+16*i, line.colour, line.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
