// Package fuzzy says how well a query matches a part of a text, from 0 to 100: the fuzzy search of messages ranks by it.
//
//	scorer := fuzzy.NewScorer(strings.ToLower(query))
//	for _, text := range texts { // lower-cased as well
//		score := scorer.PartialRatio(text, cutoff)
//		if score < cutoff {
//			continue // not found
//		}
//		…
//	}
//
// The score is that of RapidFuzz, fuzz.partial_ratio(query, text, score_cutoff=cutoff), whose numbers services of the first
// generation show and compare with thresholds. The shorter of query and text is laid beside each stretch of the longer
// that is as long, and beside each shorter stretch at either end; the best similarity counts, which is twice the length
// of the longest common subsequence, divided by the characters of both, in per cent. testdata/vectors.jsonl has pairs
// that RapidFuzz itself scored.
package fuzzy
