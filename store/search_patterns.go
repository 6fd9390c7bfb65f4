package store

import (
	"bytes"
	"math"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxShortText bounds the texts that the index of short texts holds, in characters.
	maxShortText = 128
	// minPiece and maxPiece bound the pieces of a query that are looked up. A longer one finds hardly less and takes the
	// index longer.
	minPiece = 3
	maxPiece = 12

	// What a look-up costs, as a multiple of reading and comparing the same number of messages in order: for each message
	// that the index finds, as the server makes its text anew; for each entry of the rarest trigram and each other trigram
	// of the piece; and for the piece itself.
	foundCost = 2.5
	entryCost = 0.1
	pieceCost = 0.002
	// maxCost bounds the look-ups of one statement; beyond it, reading all messages in order is as good.
	maxCost = 0.25
)

// searchPatterns turns a query into LIKE patterns that find every text which is like it.
//
// A text that has all characters of the query in order, but for some that one of the two has and the other has not (the
// edits), is found by the principle of pigeons and holes: of disjoint pieces of the query each edit spoils one at most, so
// that of one piece more than there are edits one stands in the text as it is. The pieces are chosen so that the index
// finds few messages by them, as far as a sample of the messages tells.
type searchPatterns struct {
	query  []rune
	length int
	// solid says of each character whether the server compares it as store does. No piece has any other.
	solid    []bool
	trigrams []trigram // that begin with each character of the query
	sampled  int       // how many messages the sample has
}

// trigram is one of three characters, by which the index finds messages.
type trigram struct {
	kind  trigramKind
	texts []uint64 // those of the sample that have it, a bit each
	count int      // of these
}

// trigramKind says whether the index knows a trigram: of letters and digits, or of a word's first or last two.
type trigramKind int

const (
	noTrigram trigramKind = iota
	wordEdge
	insideWord
)

// newSearchPatterns takes a query in lower case and texts of some messages. foldsUnicode says whether the server knows
// letters beyond ASCII.
func newSearchPatterns(query string, foldsUnicode bool, sample [][]byte) searchPatterns {
	p := searchPatterns{query: []rune(query), sampled: len(sample)}
	p.length = len(p.query)
	p.solid, p.trigrams = make([]bool, p.length), make([]trigram, p.length)
	word := make([]bool, p.length)
	for i, c := range p.query {
		p.solid[i] = c < utf8.RuneSelf || unicode.SimpleFold(c) == c || foldsUnicode && foldsAlike(c)
		word[i] = isWord(c) && (c < utf8.RuneSelf || foldsUnicode)
	}
	for i := range max(0, p.length-2) {
		switch {
		case !p.solid[i] || !p.solid[i+1] || !p.solid[i+2] || !word[i+1]:
			continue
		case word[i] && word[i+2]:
			p.trigrams[i].kind = insideWord
		case word[i] || word[i+2]:
			p.trigrams[i].kind = wordEdge
		}
	}
	p.count(sample)
	return p
}

// count finds the texts that have each trigram.
func (p *searchPatterns) count(sample [][]byte) {
	plain := make([][]byte, len(sample))
	for i, text := range sample {
		plain[i] = bytes.Map(blank, text)
	}
	for i := range p.trigrams {
		t := &p.trigrams[i]
		if t.kind == noTrigram {
			continue
		}
		characters := []byte(strings.Map(blank, string(p.query[i:i+3])))
		t.texts = make([]uint64, (len(sample)+63)/64)
		for n, text := range plain {
			if bytes.Contains(text, characters) {
				t.texts[n/64] |= 1 << (n % 64)
				t.count++
			}
		}
	}
}

func isWord(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }

// blank makes one character of all that are in no word.
func blank(c rune) rune {
	if isWord(c) {
		return c
	}
	return ' '
}

// foldsAlike reports whether each server with Unicode letters has the same lower case as Go for the letters of this pair:
// Latin, Greek and Cyrillic letters but for those with more than two forms.
func foldsAlike(c rune) bool {
	upper := unicode.SimpleFold(c)
	return unicode.SimpleFold(upper) == c && unicode.ToLower(upper) == c &&
		(0xE0 <= c && c <= 0x17F || 0x3AC <= c && c <= 0x3CE || 0x430 <= c && c <= 0x45F)
}

// edits is the most edits that a text with at least this score has.
func (p *searchPatterns) edits(score float64) int {
	return int(2*float64(p.length)*(1-score/100) + 1e-9)
}

// like returns patterns of which each text with so many edits matches one, and whether looking them up is worth it.
func (p *searchPatterns) like(edits int) ([]string, bool) {
	if (edits+1)*minPiece > p.length {
		return nil, false
	}
	costs := make(map[[2]int]float64)
	// best has, for so many pieces among so many characters, the least cost, and how long the last piece is that ends with
	// these characters, 0 if none does.
	type choice struct {
		cost float64
		size int
	}
	best := make([][]choice, edits+2)
	for pieces := range best {
		best[pieces] = make([]choice, p.length+1)
		for end := range best[pieces] {
			least := choice{cost: math.Inf(1)}
			if pieces == 0 {
				least.cost = 0
			} else if end > 0 {
				least.cost = best[pieces][end-1].cost
			}
			for size := minPiece; pieces > 0 && size <= min(maxPiece, end); size++ {
				before := best[pieces-1][end-size].cost
				if before >= least.cost {
					continue
				}
				place := [2]int{end - size, end}
				cost, known := costs[place]
				if !known {
					cost = p.cost(place[0], place[1])
					costs[place] = cost
				}
				if before+cost < least.cost {
					least = choice{before + cost, size}
				}
			}
			best[pieces][end] = least
		}
	}
	if !(best[edits+1][p.length].cost <= maxCost) {
		return nil, false
	}
	patterns := make([]string, 0, edits+1)
	for pieces, end := edits+1, p.length; pieces > 0; {
		size := best[pieces][end].size
		if size == 0 {
			end--
			continue
		}
		patterns = append(patterns, "%"+likeEscape.Replace(string(p.query[end-size:end]))+"%")
		end -= size
		pieces--
	}
	return patterns, true
}

// likeEscape makes a text stand for itself in a pattern.
var likeEscape = strings.NewReplacer(`%`, `\%`, `_`, `\_`, `\`, `\\`)

// cost estimates what looking up a piece costs; it is infinite where the index cannot.
func (p *searchPatterns) cost(begin, end int) float64 {
	cost := math.Inf(1)
	var found [searchWindowMessages/64 + 1]uint64
	rarest, trigrams := p.sampled, 0
	for i := begin; i < end; i++ {
		if !p.solid[i] {
			return math.Inf(1)
		}
		t := &p.trigrams[i]
		if i+3 > end || t.kind == noTrigram {
			continue
		}
		if t.kind == insideWord {
			cost = pieceCost
		}
		for n, texts := range t.texts {
			if trigrams > 0 {
				texts &= found[n]
			}
			found[n] = texts
		}
		trigrams++
		rarest = min(rarest, t.count)
	}
	if p.sampled == 0 {
		return cost
	}
	all := 0
	for _, texts := range found {
		all += bits.OnesCount64(texts)
	}
	return cost + (foundCost*float64(all)+entryCost*float64(rarest*trigrams))/float64(p.sampled)
}
