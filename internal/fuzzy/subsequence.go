package fuzzy

import "math/bits"

// The longest common subsequence of the shorter side and a stretch of the longer, by bits: bit i of the state is zero
// when a match that ends at character i of the shorter side makes the subsequence longer. A character of the stretch
// costs an addition, whose carry moves each such zero down to the first match at or before it (Hyyrö 2004, "Bit-parallel
// LCS-length computation revisited"). The length is the number of zeros.

// common returns the length of the longest common subsequence of the shorter side and characters start to end (exclusive)
// of the longer.
func (a *aligner) common(start, end int) int {
	switch a.words {
	case 1:
		return commonWord(a.masks[start:end])
	case 2:
		return commonTwoWords(a.rows, a.ids[start:end])
	}
	return a.commonWords(start, end)
}

func commonWord(masks []uint64) int {
	state := ^uint64(0)
	for _, mask := range masks {
		matches := state & mask
		state = (state + matches) | (state - matches)
	}
	return bits.OnesCount64(^state)
}

// commonWordTwice is commonWord for two stretches at once: each waits for its own additions only.
func commonWordTwice(masks1, masks2 []uint64) (int, int) {
	state1, state2 := ^uint64(0), ^uint64(0)
	masks2 = masks2[:len(masks1)]
	for i, mask := range masks1 {
		matches1, matches2 := state1&mask, state2&masks2[i]
		state1 = (state1 + matches1) | (state1 - matches1)
		state2 = (state2 + matches2) | (state2 - matches2)
	}
	return bits.OnesCount64(^state1), bits.OnesCount64(^state2)
}

func commonTwoWords(rows []uint64, ids []int32) int {
	low, high := ^uint64(0), ^uint64(0)
	for _, id := range ids {
		row := rows[2*int(id):][:2]
		matchesLow, matchesHigh := low&row[0], high&row[1]
		sumLow, carry := bits.Add64(low, matchesLow, 0)
		sumHigh, _ := bits.Add64(high, matchesHigh, carry)
		low, high = sumLow|(low-matchesLow), sumHigh|(high-matchesHigh)
	}
	return bits.OnesCount64(^low) + bits.OnesCount64(^high)
}

func (a *aligner) commonWords(start, end int) int {
	a.reset()
	for _, id := range a.ids[start:end] {
		if id != absent {
			a.step(id)
		}
	}
	return a.length()
}

func (a *aligner) reset() {
	for word := range a.state {
		a.state[word] = ^uint64(0)
	}
}

// step appends one character to the stretch.
func (a *aligner) step(id int32) {
	row := a.rows[int(id)*a.words:][:len(a.state)]
	var carry uint64
	for word, state := range a.state {
		matches := state & row[word]
		var sum uint64
		sum, carry = bits.Add64(state, matches, carry)
		a.state[word] = sum | (state - matches)
	}
}

// stepBack puts one character in front of the stretch: the same on both sides read from their ends.
func (a *aligner) stepBack(id int32) {
	row := a.rows[int(id)*a.words:][:len(a.state)]
	var carry uint64
	for word, state := range a.state {
		matches := state & bits.Reverse64(row[len(row)-1-word])
		var sum uint64
		sum, carry = bits.Add64(state, matches, carry)
		a.state[word] = sum | (state - matches)
	}
}

// length counts the zeros of the state.
func (a *aligner) length() int {
	length := 0
	for _, state := range a.state {
		length += bits.OnesCount64(^state)
	}
	return length
}
