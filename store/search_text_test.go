package store_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestSearchText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ content, metadata, want string }{
		{"Hello, WORLD", ``, "alice hello, world"},
		{"x", `null`, "alice x"},
		{"x", `{}`, "alice x"},
		{"x", `[1, "a"]`, "alice x"},
		{"x", `"text"`, "alice x"},
		{"x", `{"a": "B", "c": "", "d": " "}`, "alice x b  "},
		{"x", `{"a": 0, "b": 0.00, "c": -0.5, "d": 10, "e": 1000000000000000000000}`, "alice x -0.5 10 1000000000000000000000"},
		{"x", `{"a": true, "b": false, "c": null}`, "alice x true"},
		{"x", `{"a": {"b": "no", "c": [1]}, "d": ["no", {"e": 1}], "f": "yes"}`, "alice x yes"},
		{"x", `{"k\"e:y,": "A\"B\\C\/\b\f\n\r\t"}`, "alice x a\"b\\c/\b\f\n\r\t"},
		{"x", `{"a": "\u0416\ud83d\ude00\u00e9"}`, "alice x ж😀é"},
		{"x", `{"a": "\ud83d"}`, "alice x \ufffd"},
		{"ÄÖÜ ΣΟΦΊΑ ПРИВЕТ ǅ", ``, "alice äöü σοφία привет ǆ"},
		{"\u212a \u0130", ``, "alice \u212a \u0130"},
		{"日本語 😀", ``, "alice 日本語 😀"},
	} {
		if got := store.SearchText("Alice", test.content, test.metadata); got != test.want {
			t.Errorf("%q with %s gives %q, want %q", test.content, test.metadata, got, test.want)
		}
	}
}

// The server makes the same text, so that its index finds what the store would.
func TestSearchTextOfServer(t *testing.T) {
	t.Parallel()
	ctx, _ := storetest.New(t)
	text := rapid.StringOfN(rapid.RuneFrom([]rune("abcXYZ019 _-%\\\"'{}[]:,.\n\täÄéÉžŽσΣφΦжЖёЁ日本가😀\u0301\u00a0")), 1, 40, -1)
	scalar := rapid.OneOf(
		rapid.Map(text, func(s string) any { return s }),
		rapid.SampledFrom([]any{"", true, false, nil, 0, 0.0, -1, 1.50, json.Number("1e30"), json.Number("-0"), json.Number("0.000"), json.Number("0e5")}),
		rapid.Map(text, func(s string) any { return []any{s, 1} }),
		rapid.Map(text, func(s string) any { return map[string]any{s: s, "n": 1} }),
	)
	rapid.Check(t, func(rt *rapid.T) {
		content := text.Draw(rt, "content")
		metadata, err := json.Marshal(rapid.MapOfN(text, scalar, 0, 5).Draw(rt, "metadata"))
		if err != nil {
			rt.Fatal(err)
		}
		rows, err := store.ExecuteQuery(ctx, `SELECT ($1::jsonb)::text AS stored, message_search_text('Alice', $2, $1::jsonb) AS text`, json.RawMessage(metadata), content)
		if err != nil {
			rt.Fatal(err)
		}
		if got := store.SearchText("Alice", content, rows[0]["stored"].(string)); got != rows[0]["text"] {
			rt.Fatalf("%q with %s: the store has %q, the server %q", content, metadata, got, rows[0]["text"])
		}
	})
}

// like reports whether a LIKE pattern matches a text.
func like(pattern, text string) bool {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '%':
			b.WriteString(`.*`)
		case '\\':
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(string([]byte{c})))
		}
	}
	return regexp.MustCompile(b.String() + `$`).MatchString(text)
}

// Whatever a text has in common with a query, the patterns for its score find it.
func TestSearchPatternsMissNothing(t *testing.T) {
	t.Parallel()
	letters := rapid.RuneFrom([]rune("abc d%_\\é"))
	found := 0
	rapid.Check(t, func(rt *rapid.T) {
		query := []rune(rapid.StringOfN(letters, 4, 60, -1).Draw(rt, "query"))
		// A text that is like the query: a part of it with some characters removed, added or changed, among others.
		part := append([]rune(nil), query...)
		for range rapid.IntRange(0, 6).Draw(rt, "edits") {
			i := rapid.IntRange(0, len(part)).Draw(rt, "at")
			switch c := letters.Draw(rt, "character"); {
			case i == len(part) || rapid.Bool().Draw(rt, "insert"):
				part = append(part[:i], append([]rune{c}, part[i:]...)...)
			case rapid.Bool().Draw(rt, "change"):
				part[i] = c
			default:
				part = append(part[:i], part[i+1:]...)
			}
		}
		filler := rapid.StringOfN(letters, 0, 60, -1)
		text := filler.Draw(rt, "before") + string(part) + filler.Draw(rt, "after")
		if utf8.RuneCountInString(text) <= len(query) {
			return // the index of short texts finds it
		}
		score := fuzzy.NewScorer(string(query)).PartialRatio([]byte(text), 0)
		patterns, ok := store.SearchPatterns(string(query), score, rapid.Bool().Draw(rt, "folds"), rapid.SliceOfN(filler, 0, 20).Draw(rt, "sample")...)
		if !ok {
			return
		}
		found++
		for _, pattern := range patterns {
			if like(pattern, text) {
				return
			}
		}
		rt.Fatalf("%q has a score of %v for %q, but none of %q matches", text, score, string(query), patterns)
	})
	if found == 0 {
		t.Error("no text could be found by patterns")
	}
}
