package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/bench/peer"
)

// writeMarkdown prints a table for each way of using the tools, with the store first in both.
func writeMarkdown(w io.Writer, setting string, results []result) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n\nEach cell: median time, its ratio to the store's, allocations.\n", setting)
	for _, table := range []struct {
		way   peer.Way
		title string
	}{
		{peer.Statement, "The store's statement, sent through each tool"},
		{peer.Own, "Each tool in its own way"},
	} {
		var tools, names []string
		cells := make(map[[2]string]string)
		for _, r := range results {
			if r.Way != table.way && r.Tool != "store" {
				continue
			}
			if !slices.Contains(tools, r.Tool) {
				tools = append(tools, r.Tool)
			}
			if !slices.Contains(names, r.Operation) {
				names = append(names, r.Operation)
			}
			cells[[2]string{r.Operation, r.Tool}] = cell(r)
		}
		fmt.Fprintf(&text, "\n**%s**\n\n| operation | %s |\n|---|%s\n", table.title, strings.Join(tools, " | "), strings.Repeat("---|", len(tools)))
		for _, name := range names {
			fmt.Fprintf(&text, "| %s |", name)
			for _, tool := range tools {
				fmt.Fprintf(&text, " %s |", cells[[2]string{name, tool}])
			}
			text.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func cell(r result) string {
	if r.Tool == "store" {
		return fmt.Sprintf("%.0f µs, %.0f", r.Median, r.Allocations)
	}
	if r.Allocations == 0 {
		return fmt.Sprintf("%.0f µs, %.2f x", r.Median, r.Ratio)
	}
	return fmt.Sprintf("%.0f µs, %.2f x, %.0f", r.Median, r.Ratio, r.Allocations)
}
