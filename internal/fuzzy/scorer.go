package fuzzy

import "unicode/utf8"

// Scorer scores texts against one query. It keeps scratch memory that grows with the longest text, so that scoring a
// text allocates nothing; for that reason a Scorer is not for concurrent use: give each goroutine its own Clone.
type Scorer struct {
	*compiled
	masks []uint64 // for each character of the longer side, where it stands in the shorter; only when that fits one word
	ids   []int32  // for each character of the text, its number in the alphabet of the query
	rows  []uint64 // where each character of the alphabet stands in a text that is the shorter side
	state []uint64 // of the longest common subsequence over several words
}

// compiled is what the clones of a Scorer share; nothing changes it after NewScorer.
type compiled struct {
	alphabet
	ids   []int32               // for each character, its number in the alphabet
	words int                   // of 64 bits, one for each character
	rows  []uint64              // words for each number of the alphabet: where the character stands in the query
	lanes lanes                 // words == 1
	first [utf8.RuneSelf]uint64 // words == 1: the row of each ASCII character
}

// NewScorer returns a Scorer for the query as it is: upper and lower case differ, so whoever wants them to be equal
// lowers both sides first. The empty query scores 100 against the empty text and 0 against every other.
func NewScorer(query string) *Scorer {
	q := &compiled{alphabet: newAlphabet(query), ids: make([]int32, 0, len(query))}
	for _, character := range query {
		q.ids = append(q.ids, q.add(character))
	}
	q.words = (len(q.ids) + 63) / 64
	q.rows = make([]uint64, q.size()*q.words)
	for position, id := range q.ids {
		q.rows[int(id)*q.words+position/64] |= 1 << (position % 64)
	}
	if q.words == 1 {
		q.lanes = lanesFor(len(q.ids))
		for character := range q.first {
			q.first[character] = q.rows[q.ascii[character]]
		}
	}
	return &Scorer{compiled: q}
}

// Clone returns a Scorer for the same query with scratch memory of its own. It is cheap.
func (s *Scorer) Clone() *Scorer {
	return &Scorer{compiled: s.compiled}
}

// Len returns the number of characters (code points) of the query.
func (s *Scorer) Len() int {
	return len(s.compiled.ids)
}

// PartialRatio returns how well the best part of the longer of query and text matches the shorter, from 0 to 100, or 0
// when that is below the cutoff: the higher the cutoff, the sooner a text that does not reach it is given up. Bytes of the
// text that are not UTF-8 count as U+FFFD each.
func (s *Scorer) PartialRatio(text []byte, cutoff float64) float64 {
	if cutoff > 100 {
		return 0
	}
	m := s.Len()
	if m == 0 || len(text) == 0 {
		if m == 0 && len(text) == 0 {
			return 100
		}
		return 0
	}
	if len(text) < m {
		return s.textInQuery(text, cutoff)
	}
	// At most as many characters as bytes: only counting them tells which side is the longer.
	n := s.decode(text)
	switch {
	case n < m:
		return s.textInQuery(text, cutoff)
	case n > m:
		return s.queryInText(n, cutoff)
	}
	score := s.queryInText(n, cutoff)
	if score == 100 {
		return score
	}
	return max(score, s.textInQuery(text, max(score, cutoff)))
}

// decode makes the text the longer side and returns its length in characters.
func (s *Scorer) decode(text []byte) int {
	if s.words == 1 {
		return s.decodeMasks(text)
	}
	return s.decodeIDs(text)
}

// decodeMasks fills s.masks for a query of one word.
func (s *Scorer) decodeMasks(text []byte) int {
	if cap(s.masks) < len(text) {
		s.masks = make([]uint64, len(text))
	}
	masks := s.masks[:len(text)]
	n := 0
	for i := 0; i < len(text); n++ {
		if b := text[i]; b < utf8.RuneSelf {
			masks[n] = s.first[b]
			i++
			continue
		}
		character, size := utf8.DecodeRune(text[i:])
		masks[n] = s.compiled.rows[s.id(character)]
		i += size
	}
	s.masks = masks[:n]
	return n
}

// decodeIDs fills s.ids.
func (s *Scorer) decodeIDs(text []byte) int {
	if cap(s.ids) < len(text) {
		s.ids = make([]int32, len(text))
	}
	ids := s.ids[:len(text)]
	n := 0
	for i := 0; i < len(text); n++ {
		if b := text[i]; b < utf8.RuneSelf {
			ids[n] = s.ascii[b]
			i++
			continue
		}
		character, size := utf8.DecodeRune(text[i:])
		ids[n] = s.id(character)
		i += size
	}
	s.ids = ids[:n]
	return n
}

// queryInText scores the query as the shorter side against the text of n characters that decode has read.
func (s *Scorer) queryInText(n int, cutoff float64) float64 {
	a := aligner{m: s.Len(), n: n, words: s.words}
	if s.words == 1 {
		a.masks, a.lanes = s.masks, s.lanes
	} else {
		a.ids, a.rows, a.state = s.ids, s.compiled.rows, s.stateOf(s.words)
	}
	return a.score(cutoff)
}

// textInQuery scores the text as the shorter side against the query.
func (s *Scorer) textInQuery(text []byte, cutoff float64) float64 {
	m := s.decodeIDs(text)
	words := (m + 63) / 64
	size := s.size() * words
	if cap(s.rows) < size {
		s.rows = make([]uint64, size)
	}
	rows := s.rows[:size]
	clear(rows)
	for position, id := range s.ids {
		if id != absent {
			rows[int(id)*words+position/64] |= 1 << (position % 64)
		}
	}
	a := aligner{m: m, n: s.Len(), words: words}
	if words > 1 {
		a.ids, a.rows, a.state = s.compiled.ids, rows, s.stateOf(words)
		return a.score(cutoff)
	}
	if cap(s.masks) < a.n {
		s.masks = make([]uint64, a.n)
	}
	a.masks, a.lanes = s.masks[:a.n], lanesFor(m)
	for position, id := range s.compiled.ids {
		a.masks[position] = rows[id]
	}
	return a.score(cutoff)
}

// stateOf returns scratch memory of so many words.
func (s *Scorer) stateOf(words int) []uint64 {
	if cap(s.state) < words {
		s.state = make([]uint64, words)
	}
	return s.state[:words]
}
