package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
)

// newRowProgress shows how rows go by: on a terminal as a bar with rate and time left, elsewhere as a line per phase.
func newRowProgress(w io.Writer) importer.Progress {
	if isTerminal(w) {
		return &rowBar{w: w}
	}
	return rowLines{w}
}

// rowBar draws one bar per phase.
type rowBar struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

// Start begins a bar, of a length that is not known when rows is negative.
func (p *rowBar) Start(phase string, rows int64) {
	p.Stop()
	options := []progressbar.Option{
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionSetDescription(phase),
		progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine that goes on drawing after the phase
	}
	if rows >= 0 {
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"),
			progressbar.OptionSetPredictTime(true))
	}
	p.bar = progressbar.NewOptions64(rows, options...)
	_ = p.bar.RenderBlank() // it only draws
}

// Add moves the bar.
func (p *rowBar) Add(rows int) {
	if p.bar != nil {
		_ = p.bar.Add(rows) // it only draws
	}
}

// Stop removes the bar.
func (p *rowBar) Stop() {
	if p.bar != nil {
		_ = p.bar.Clear() // it only draws
		p.bar = nil
	}
}

// rowLines writes a line when a phase begins and nothing more.
type rowLines struct{ w io.Writer }

// Start writes the line.
func (p rowLines) Start(phase string, rows int64) {
	if rows < 0 {
		fmt.Fprintf(p.w, "%s\n", phase)
	} else {
		fmt.Fprintf(p.w, "%s (%d rows)\n", phase, rows)
	}
}

// Add does nothing.
func (p rowLines) Add(int) {}

// Stop does nothing.
func (p rowLines) Stop() {}
