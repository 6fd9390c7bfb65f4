package fuzzy

import "math/bits"

// A shorter side of at most 31 characters leaves room in a word for the states of several neighbouring windows. Each has a
// lane of m+1 bits; the bit more takes the carry of the addition, which must not reach the next lane.

// lanes describes such words.
type lanes struct {
	width   int // bits of a lane
	last    int // number of the last lane, whose window starts first; 0 when there is one lane only
	low     uint64
	carries uint64
}

// lanesFor returns the lanes for a shorter side of m characters.
func lanesFor(m int) lanes {
	if m > 31 {
		return lanes{low: ^uint64(0)}
	}
	l := lanes{width: m + 1, last: 64/(m+1) - 1, low: 1<<m - 1}
	for lane := range l.last + 1 {
		l.carries |= 1 << (lane*l.width + m)
	}
	return l
}

// pack changes the masks of the characters of the longer side: lane l of masks[p] becomes the mask of character p-l.
func (l *lanes) pack(masks []uint64) {
	var packed uint64
	width := l.width & 63
	for p, mask := range masks {
		packed = packed<<width | mask
		masks[p] = packed
	}
}

// windows returns the zeros of the windows that start where these masks do (lane 0) and up to last characters earlier.
func (l *lanes) windows(masks []uint64) uint64 {
	carries := l.carries
	state := ^carries
	for _, mask := range masks {
		matches := state & mask
		state = ((state + matches) | (state - matches)) &^ carries
	}
	return ^state
}

// windowsTwice is windows for two groups at once: each waits for its own additions only.
func (l *lanes) windowsTwice(masks1, masks2 []uint64) (uint64, uint64) {
	carries := l.carries
	state1, state2 := ^carries, ^carries
	masks2 = masks2[:len(masks1)]
	for i, mask := range masks1 {
		matches1, matches2 := state1&mask, state2&masks2[i]
		state1 = ((state1 + matches1) | (state1 - matches1)) &^ carries
		state2 = ((state2 + matches2) | (state2 - matches2)) &^ carries
	}
	return ^state1, ^state2
}

// length returns the length of the longest common subsequence of one lane.
func (l *lanes) length(zeros uint64, lane int) int {
	return bits.OnesCount64(zeros >> (lane * l.width & 63) & l.low)
}

// longest returns the length of the longest that is at least need, 0 when there is none. Neighbours differ by one at most.
func (l *lanes) longest(zeros uint64, need int) int {
	best := 0
	for lane := 0; lane <= l.last; {
		length := l.length(zeros, lane)
		if length >= need {
			best, need = length, length+1
		}
		lane += need - length
	}
	return best
}

// packedWindow is window for packed masks: it looks at groups of neighbouring windows.
func (a *aligner) packedWindow(need int) (best, first, last int) {
	end := a.n - a.m - 1
	if end < 0 {
		return 0, a.m, a.m
	}
	l := &a.lanes
	take := func(zeros uint64) {
		if longest := l.longest(zeros, need); longest > 0 {
			best, need = longest, longest+1
		}
	}
	// A lane that starts before the longer side does holds a prefix, which the first window is at least as long as.
	known := min(end, l.last)
	zeros := l.windows(a.masks[known:][:a.m])
	take(zeros)
	first = l.length(zeros, known)
	length := l.length(zeros, 0)
	// advance takes the group that ends with window next, and those before it that can matter.
	advance := func(next int, zeros uint64) {
		take(zeros)
		until := next - l.last - (need - l.length(zeros, l.last))
		for i := known + need - length; i <= until && best < a.m; i += l.last + 1 {
			take(l.windows(a.masks[i+l.last:][:a.m]))
		}
		known, length = next, l.length(zeros, 0)
	}
	for known < end && best < a.m {
		// As far as can be left out if the windows there have the same length.
		far := max(1, 2*(need-length)-1) + l.last
		next := min(end, known+far)
		after := min(end, next+far)
		zeros, zerosAfter := l.windowsTwice(a.masks[next:][:a.m], a.masks[after:][:a.m])
		advance(next, zeros)
		advance(after, zerosAfter)
	}
	return best, first, min(a.m, length+1)
}
