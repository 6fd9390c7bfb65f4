package fuzzy_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
)

var (
	writeCorpus = flag.String("write-corpus", "", "write the texts and queries of the benchmarks to this file, as JSON")
	transcript  = flag.String("transcript", "", "benchmark on the contents of this file of messages, one JSON object a line")
)

// queryLengths are those that the benchmarks compare.
var queryLengths = []int{5, 15, 40, 80}

// corpus is what the benchmarks here and testdata/compare.py work on: the same in every run.
type corpus struct {
	Texts   []string         `json:"texts"`   // 1000 of 200 characters
	Queries map[int][]string `json:"queries"` // by their length
}

const (
	corpusTexts = 1000
	textLength  = 200
)

// textWords make the texts, the first of them more often.
var textWords = strings.Fields(`the to a of and in is it that for with on as be this are not by from or when we an was
if at can which has but all will one no now have use test add error so only new there each after before its then into
file code time message session query index row table server client request response value key name list read write
update remove delete create change fix return check call type function method field default option config connection
pool transaction commit rollback lock retry timeout cancel context memory cache token audit agent reader writer schema
migration version release build script document example benchmark result cursor page limit order filter search score
match text string number integer boolean pointer slice package module import export command flag argument output input
stream buffer socket network address port host process thread goroutine channel signal event handler callback queue job
worker task schedule interval deadline clock duration second minute hour started finished failed passed skipped broken
slow fast large small empty missing unknown invalid duplicate unexpected internal external public private because while
until without between instead already again never always sometimes probably simply`)

// unrelatedWords are in no text.
var unrelatedWords = strings.Fields(`walrus harbour violin gravel pumpkin orchid meadow kitchen blanket thunder zebra
chimney whisky jockey quartz vineyard lighthouse umbrella avocado butterfly mountain grandmother cinnamon football`)

var loadCorpus = sync.OnceValues(func() (*corpus, error) {
	r := rand.New(rand.NewPCG(1, 2))
	texts, err := corpusSentences(r)
	if err != nil {
		return nil, err
	}
	c := &corpus{Queries: map[int][]string{}}
	for range corpusTexts {
		c.Texts = append(c.Texts, cut(r, texts, textLength))
	}
	for _, length := range queryLengths {
		for range 10 {
			text := []rune(c.Texts[r.IntN(len(c.Texts))])
			start := r.IntN(len(text) - length + 1)
			fragment := text[start : start+length]
			for range length / 8 {
				fragment[r.IntN(length)] = rune('a' + r.IntN(26))
			}
			c.Queries[length] = append(c.Queries[length], string(fragment), cut(r, func() string {
				return unrelatedWords[r.IntN(len(unrelatedWords))]
			}, length))
		}
	}
	return c, nil
})

// corpusSentences returns what gives the next piece of text.
func corpusSentences(r *rand.Rand) (func() string, error) {
	if *transcript == "" {
		often := rand.NewZipf(r, 1.1, 8, uint64(len(textWords)-1))
		return func() string { return textWords[often.Uint64()] }, nil
	}
	file, err := os.Open(*transcript)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var pieces []string
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var message struct{ Content string }
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			return nil, fmt.Errorf("read %s: %w", *transcript, err)
		}
		if piece := strings.Join(strings.Fields(strings.ToLower(message.Content)), " "); piece != "" {
			pieces = append(pieces, piece)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", *transcript, err)
	}
	return func() string { return pieces[r.IntN(len(pieces))] }, nil
}

// cut joins pieces by spaces to so many characters.
func cut(r *rand.Rand, piece func() string, length int) string {
	var characters []rune
	skip := r.IntN(20)
	for len(characters) < skip+length {
		characters = append(append(characters, []rune(piece())...), ' ')
	}
	return string(characters[skip : skip+length])
}

// TestCorpus checks the lengths that the benchmarks promise, and writes the corpus when -write-corpus asks for it.
func TestCorpus(t *testing.T) {
	t.Parallel()
	c, err := loadCorpus()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range c.Texts {
		if length := len([]rune(text)); length != textLength {
			t.Errorf("%q has %d characters", text, length)
		}
	}
	for length, queries := range c.Queries {
		for _, query := range queries {
			if got := len([]rune(query)); got != length {
				t.Errorf("query %q has %d characters, not %d", query, got, length)
			}
		}
	}
	if *writeCorpus == "" {
		return
	}
	content, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*writeCorpus, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
