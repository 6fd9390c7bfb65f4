package store

import (
	"strings"
	"testing"
)

func BenchmarkTextInput(b *testing.B) {
	cases := []struct{ name, text string }{
		{"ascii 200", strings.Repeat("All tests pass now. ", 10)[:199]},
		{"unicode 200", strings.Repeat("Grüße, 世界! ", 20)},
		{"dirty 200", strings.Repeat("nul\x00 and more text ", 11)},
		{"ascii 100000", strings.Repeat("0123456789", 10_000)},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := textInput("content", c.text, MaxContentLength); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMetadataInput(b *testing.B) {
	small := `{"task":"review","priority":3,"tags":["a","b"],"model":"claude","tokens":{"in":1200,"out":345}}`
	large := `{"items":[` + strings.Repeat(`{"id":12345,"name":"some name","ok":true},`, 200) + `null]}`
	cases := []struct {
		name  string
		value any
	}{
		{"map", map[string]any{
			"task": "review", "priority": 3, "tags": []string{"a", "b"}, "model": "claude",
			"tokens": map[string]any{"in": 1200, "out": 345},
		}},
		{"struct", struct {
			Task     string `json:"task"`
			Priority int    `json:"priority"`
			Tags     []string
		}{"review", 3, []string{"a", "b"}}},
		{"raw 100", []byte(small)},
		{"string 100", small},
		{"raw 8600", []byte(large)},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := metadataInput(c.value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBindPlaceholders(b *testing.B) {
	cases := []struct {
		name, sql string
		nargs     int
	}{
		{"question marks", `SELECT id, content FROM messages WHERE session_id = ? AND visibility = ? AND timestamp > ? ORDER BY id LIMIT ?`, 4},
		{"numbers", `SELECT id, content FROM messages WHERE session_id = $1 AND visibility = $2 AND timestamp > $3 ORDER BY id LIMIT $4`, 4},
		{"none", `SELECT id, content FROM messages WHERE session_id = 'x' AND visibility = 'public' ORDER BY id LIMIT 10`, 0},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bindPlaceholders(c.sql, c.nargs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
