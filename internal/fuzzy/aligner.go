package fuzzy

import (
	"math"
	"math/bits"
)

// aligner finds the part of the longer side, of n characters, that is most similar to the shorter side, of m.
type aligner struct {
	m, n, words int
	masks       []uint64 // words == 1: for each character of the longer side, where it stands in the shorter
	ids         []int32  // words > 1: for each character of the longer side, its number in the alphabet
	rows        []uint64 // words > 1: for each number, where the character stands in the shorter side
	state       []uint64 // words > 1: scratch
	lanes       lanes    // words == 1: of the masks
}

// similarity returns 2·common/total, rounded as RapidFuzz does.
func similarity(common, total int) float64 {
	return 1 - float64(total-2*common)/float64(total)
}

// score returns the best of: windows, as long as the shorter side; prefixes and suffixes of the longer side, which are
// shorter than that. Whether a score reaches a cutoff that it equals depends on rounding, and RapidFuzz rounds
// differently for windows than for prefixes and suffixes, among which it counts the last window: so does this.
func (a *aligner) score(cutoff float64) float64 {
	need := max(1, min(a.m, int(float64(a.m)*cutoff/100)))
	for need > 1 && similarity(need-1, 2*a.m)*100 >= cutoff {
		need--
	}
	for need < a.m && similarity(need, 2*a.m)*100 < cutoff {
		need++
	}
	search := a.window
	if a.lanes.last > 0 {
		a.lanes.pack(a.masks)
		search = a.packedWindow
	}
	best, first, last := search(need)
	score := 0.0
	if best > 0 {
		score = similarity(best, 2*a.m) * 100
		if best == a.m {
			return score
		}
	}
	e := edges{aligner: a, cutoff: cutoff, atLeast: max(cutoff, score) / 100}
	e.prefix(first)
	e.suffix(last)
	return max(score, e.score())
}

// window returns the longest common subsequence of the shorter side and a window of the longer, of all windows but the
// last; 0 when it is shorter than need. It also returns at least the length for the first and for the last window.
//
// From one window to the next the length changes by one at most. So between two windows of lengths x and y, g apart, no
// length is above (x+y+g)/2, and most windows are never looked at.
func (a *aligner) window(need int) (best, first, last int) {
	end := a.n - a.m - 1
	if end < 0 {
		return 0, a.m, a.m
	}
	take := func(length int) {
		if length >= need {
			best, need = length, length+1
		}
	}
	at := func(i int) int {
		length := a.common(i, i+a.m)
		take(length)
		return length
	}
	type known struct{ i, length int }
	ahead := make([]known, 0, 64) // windows to the right whose lengths are known, the nearest last
	left := known{0, at(0)}
	first = left.length
	for best < a.m {
		if len(ahead) == 0 {
			if left.i == end {
				return best, first, min(a.m, left.length+1)
			}
			// As far as can be left out if that window has the same length.
			far := max(1, 2*(need-left.length)-1)
			i := min(end, left.i+far)
			if j := min(end, i+far); a.words == 1 && j > i {
				x, y := commonWordTwice(a.masks[i:][:a.m], a.masks[j:][:a.m])
				take(x)
				take(y)
				ahead = append(ahead, known{j, y}, known{i, x})
				continue
			}
			ahead = append(ahead, known{i, at(i)})
			continue
		}
		right := ahead[len(ahead)-1]
		low, high := left.i+need-left.length, right.i-(need-right.length)
		if low > high {
			left, ahead = right, ahead[:len(ahead)-1]
			continue
		}
		i := (low + high) / 2
		ahead = append(ahead, known{i, at(i)})
	}
	return best, first, a.m
}

// edges finds the best of the prefixes and suffixes of the longer side.
type edges struct {
	*aligner
	cutoff        float64
	atLeast       float64 // what a similarity must reach to be of use, from 0 to 1
	common, total int     // of the best
}

// score returns that of the best, 0 when there is none or it is below the cutoff.
func (e *edges) score() float64 {
	if e.common == 0 {
		return 0
	}
	best := similarity(e.common, e.total)
	if best < e.cutoff/100 {
		return 0
	}
	return best * 100
}

// slack returns how many characters of a prefix may have no part in the subsequence, when this has at most limit
// characters in all and the similarity must be of use.
func (e *edges) slack(limit int) int {
	if e.atLeast <= 0 {
		return math.MaxInt
	}
	slack := 2*float64(limit)/e.atLeast - float64(e.m+limit) + 1e-6
	if slack > float64(e.n) {
		return math.MaxInt
	}
	return int(math.Floor(slack))
}

// offer takes a prefix or suffix if it is better; it returns false when no longer one can be.
func (e *edges) offer(common, length, slack int) bool {
	if total := e.m + length; common*e.total > e.common*total || e.total == 0 {
		e.common, e.total = common, total
	}
	return length-common <= slack
}

// prefix looks at the prefixes shorter than the shorter side; limit is at least the length of their subsequences.
func (e *edges) prefix(limit int) {
	slack := e.slack(limit)
	if slack < 0 {
		return
	}
	if e.words == 1 {
		state := ^uint64(0)
		for i, mask := range e.masks[:e.m-1] {
			matches := state & mask & e.lanes.low
			state = (state + matches) | (state - matches)
			if !e.offer(bits.OnesCount64(^state), i+1, slack) {
				return
			}
		}
		return
	}
	e.reset()
	for i, id := range e.ids[:e.m-1] {
		e.step(id)
		if !e.offer(e.length(), i+1, slack) {
			return
		}
	}
}

// suffix looks at the last window and the suffixes shorter than it; limit is as for prefix.
func (e *edges) suffix(limit int) {
	slack := e.slack(limit)
	if slack < 0 {
		return
	}
	if e.words == 1 {
		state := ^uint64(0)
		for length := 1; length <= e.m; length++ {
			matches := state & bits.Reverse64(e.masks[e.n-length]&e.lanes.low)
			state = (state + matches) | (state - matches)
			if !e.offer(bits.OnesCount64(^state), length, slack) {
				return
			}
		}
		return
	}
	e.reset()
	for length := 1; length <= e.m; length++ {
		e.stepBack(e.ids[e.n-length])
		if !e.offer(e.length(), length, slack) {
			return
		}
	}
}
