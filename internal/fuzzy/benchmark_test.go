package fuzzy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/fuzzy"
)

// BenchmarkPartialRatio scores 1000 texts of 200 characters by one query. testdata/compare.py sets the times beside those
// of RapidFuzz.
//
// cutoff=60 scores each text with that cutoff, as RapidFuzz does it. cutoff=rising keeps the ten best and asks of every
// other text to be better, as a search does.
//
// ns/op is the mean over the queries, shortest-ns/op the same of the shortest time of each: that of a machine with nothing
// else to do, when each query has its turn often enough (-benchtime 1000x or more).
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
				shortest := slices.Repeat([]time.Duration{time.Hour}, len(queries))
				for i := 0; b.Loop(); i++ {
					query := i % len(queries)
					start := time.Now()
					way.score(fuzzy.NewScorer(queries[query]), texts)
					shortest[query] = min(shortest[query], time.Since(start))
				}
				var sum time.Duration
				for _, duration := range shortest {
					sum += duration
				}
				b.ReportMetric(float64(sum)/float64(len(queries)), "shortest-ns/op")
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
