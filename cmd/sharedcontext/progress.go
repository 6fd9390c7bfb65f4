package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/sharedcontext/sharedcontext/v2/internal/demo"
)

// newProgress shows progress as a bar on a terminal and as a line per phase elsewhere.
func newProgress(w io.Writer) demo.Progress {
	if isTerminal(w) {
		return &barProgress{w: w}
	}
	return &lineProgress{w: w}
}

// barProgress draws one bar per phase.
type barProgress struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

// Start begins a bar.
func (p *barProgress) Start(phase string, steps int) {
	p.Stop()
	p.bar = progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionSetDescription(phase),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(24),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
	)
	_ = p.bar.RenderBlank() // it only draws
}

// Add moves the bar.
func (p *barProgress) Add(steps int) { _ = p.bar.Add(steps) } // it only draws

// Stop removes the bar.
func (p *barProgress) Stop() {
	if p.bar != nil {
		_ = p.bar.Clear() // it only draws
		p.bar = nil
	}
}

// lineProgress writes a line when a phase begins and nothing more.
type lineProgress struct {
	mu sync.Mutex
	w  io.Writer
}

// Start writes the line.
func (p *lineProgress) Start(phase string, steps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if steps == 1 {
		fmt.Fprintf(p.w, "%s\n", phase)
	} else {
		fmt.Fprintf(p.w, "%s (%d)\n", phase, steps)
	}
}

// Add does nothing.
func (p *lineProgress) Add(int) {}

// Stop does nothing.
func (p *lineProgress) Stop() {}
