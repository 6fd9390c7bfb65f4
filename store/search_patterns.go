package store

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxShortText bounds the texts that the index of short texts holds, in characters.
	maxShortText = 128
	// minPiece is the least length of a piece that is worth looking for together with others.
	minPiece = 4
	// maxPatterns bounds the patterns of one statement: the index is asked for each of them.
	maxPatterns = 28
)

// searchPatterns turns a query into LIKE patterns that find every text which is like it.
//
// A text that has all characters of the query in order, but for some that one of the two has and the other has not (the
// edits), is found by the principle of pigeons and holes: of k disjoint pieces of the query each edit spoils one at most,
// so that k-edits of them stand in the text as they are, in order. There is a pattern for each choice of that many pieces.
type searchPatterns struct {
	query  []rune
	length int
	// solid says of each character whether the server compares it as store does. Others match anything.
	solid []bool
	// word says of each character whether it is part of a trigram of letters and digits.
	word []bool
	most int // the most edits for which there are patterns, -1 for none
}

// newSearchPatterns takes a query in lower case. foldsUnicode says whether the server knows letters beyond ASCII.
func newSearchPatterns(query string, foldsUnicode bool) searchPatterns {
	p := searchPatterns{query: []rune(query), most: -1}
	p.length = len(p.query)
	p.solid, p.word = make([]bool, p.length), make([]bool, p.length)
	for i, c := range p.query {
		p.solid[i] = c < utf8.RuneSelf || unicode.SimpleFold(c) == c || foldsUnicode && foldsAlike(c)
		p.word[i] = p.solid[i] && (unicode.IsLetter(c) || unicode.IsDigit(c)) && (c < utf8.RuneSelf || foldsUnicode)
	}
	for edits := 0; edits*3 < p.length && p.feasible(edits); edits++ {
		p.most = edits
	}
	return p
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

// split returns how many pieces the query is cut into for a number of edits, and how long they are.
func (p *searchPatterns) split(edits int) (pieces, size int) {
	if edits == 0 {
		return 1, p.length
	}
	pieces = edits + 1
	for choose(pieces+1, edits) <= maxPatterns && p.length/(pieces+1) >= minPiece {
		pieces++
	}
	return pieces, p.length / pieces
}

// choose returns the number of ways to choose k of n.
func choose(n, k int) int {
	ways := 1
	for i := 1; i <= min(k, n-k); i++ {
		ways = ways * (n - i + 1) / i
	}
	return ways
}

// feasible reports whether the index can find texts with this many edits: each pattern has a trigram that it can be looked
// up by.
func (p *searchPatterns) feasible(edits int) bool {
	pieces, size := p.split(edits)
	if size < 3 || choose(pieces, edits) > maxPatterns {
		return false
	}
	without := 0 // pieces without a trigram
	for i := range pieces {
		if !p.hasTrigram(i*size, p.end(i, pieces, size)) {
			without++
		}
	}
	return without < pieces-edits
}

// end returns where a piece ends: the last one has what is left over.
func (p *searchPatterns) end(piece, pieces, size int) int {
	if piece == pieces-1 {
		return p.length
	}
	return (piece + 1) * size
}

func (p *searchPatterns) hasTrigram(begin, end int) bool {
	run := 0
	for i := begin; i < end; i++ {
		if !p.word[i] {
			run = 0
			continue
		}
		if run++; run == 3 {
			return true
		}
	}
	return false
}

// like returns the patterns for a number of edits, which must be feasible.
func (p *searchPatterns) like(edits int) []string {
	pieces, size := p.split(edits)
	texts := make([]string, pieces)
	for i := range texts {
		texts[i] = p.escape(i*size, p.end(i, pieces, size))
	}
	patterns := make([]string, 0, choose(pieces, edits))
	chosen := make([]string, 0, pieces)
	var choosePieces func(from int)
	choosePieces = func(from int) {
		if missing := pieces - edits - len(chosen); missing == 0 {
			patterns = append(patterns, "%"+strings.Join(chosen, "%")+"%")
		} else if missing <= pieces-from {
			chosen = append(chosen, texts[from])
			choosePieces(from + 1)
			chosen = chosen[:len(chosen)-1]
			choosePieces(from + 1)
		}
	}
	choosePieces(0)
	return patterns
}

// escape returns the part of a pattern that matches a piece of the query.
func (p *searchPatterns) escape(begin, end int) string {
	var b strings.Builder
	for i := begin; i < end; i++ {
		switch c := p.query[i]; {
		case !p.solid[i]:
			b.WriteByte('%') // in another case it may be two characters
		case c == '%' || c == '_' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
