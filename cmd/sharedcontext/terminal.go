package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// isTerminal reports whether a person is at the other end.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// colored puts a text into a colour on a terminal, unless NO_COLOR (no-color.org) is set.
func colored(w io.Writer, color, text string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return text
	}
	return color + text + "\x1b[0m"
}

const green = "\x1b[32m"
