package fuzzy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
)

// BenchmarkPartialRatio scores 1000 texts of 200 characters by one query. testdata/compare.py sets the times beside those
// of RapidFuzz.
//
// cutoff=60 scores each text with that cutoff, as RapidFuzz does it. cutoff=rising keeps the ten best and asks of every
// other text to be better, as a search does.
func BenchmarkPartialRatio(b *testing.B) {
	c, err := loadCorpus()
	if err != nil {
		b.Fatal(err)
	}
	texts := make([][]byte, len(c.Texts))
	for i, text := range c.Texts {
		texts[i] = []byte(text)
	}
	ways := []struct {
		name  string
		score func(*fuzzy.Scorer, [][]byte) float64
	}{
		{"0", func(s *fuzzy.Scorer, texts [][]byte) float64 { return scoreAll(s, texts, 0) }},
		{"60", func(s *fuzzy.Scorer, texts [][]byte) float64 { return scoreAll(s, texts, 60) }},
		{"rising", scoreRising},
	}
	for _, length := range queryLengths {
		for _, way := range ways {
			b.Run(fmt.Sprintf("query=%d/cutoff=%s", length, way.name), func(b *testing.B) {
				b.ReportAllocs()
				queries := c.Queries[length]
				i := 0
				for b.Loop() {
					way.score(fuzzy.NewScorer(queries[i%len(queries)]), texts)
					i++
				}
			})
		}
	}
}

func scoreAll(scorer *fuzzy.Scorer, texts [][]byte, cutoff float64) float64 {
	best := 0.0
	for _, text := range texts {
		best = max(best, scorer.PartialRatio(text, cutoff))
	}
	return best
}

// scoreRising returns the tenth best score.
func scoreRising(scorer *fuzzy.Scorer, texts [][]byte) float64 {
	best := make([]float64, 0, 11)
	cutoff := 60.0
	for _, text := range texts {
		score := scorer.PartialRatio(text, cutoff)
		if score < cutoff {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, score, func(x, y float64) int {
			if x >= y {
				return -1
			}
			return 1
		})
		best = slices.Insert(best, at, score)
		if len(best) > 10 {
			best = best[:10]
		}
		if len(best) == 10 {
			cutoff = max(cutoff, best[9])
		}
	}
	return cutoff
}
