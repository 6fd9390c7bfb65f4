package fuzzy

import (
	"math/bits"
	"unicode/utf8"
)

// absent is the number of every character that the query does not have.
const absent = 0

// alphabet numbers the distinct characters of a query from 1.
type alphabet struct {
	count int32
	ascii [utf8.RuneSelf]int32
	// The other characters and their numbers, each at its hash or in the next free place: half of them stay free. A map
	// would take most of the time of a text that is not ASCII.
	others    []rune
	othersIDs []int32
}

// newAlphabet returns an alphabet that can take the characters of the query.
func newAlphabet(query string) alphabet {
	others := 0
	for _, character := range query {
		if character >= utf8.RuneSelf {
			others++
		}
	}
	if others == 0 {
		return alphabet{}
	}
	size := 1 << bits.Len(uint(2*others))
	return alphabet{others: make([]rune, size), othersIDs: make([]int32, size)}
}

// add returns the number of the character and gives it one when it has none.
func (a *alphabet) add(character rune) int32 {
	id := a.place(character)
	if *id == absent {
		a.count++
		*id = a.count
	}
	return *id
}

// place returns where the number of the character is, or goes.
func (a *alphabet) place(character rune) *int32 {
	if character < utf8.RuneSelf {
		return &a.ascii[character]
	}
	i := a.find(character)
	a.others[i] = character
	return &a.othersIDs[i]
}

// id returns the number of a character that is not ASCII, absent when the query does not have it.
func (a *alphabet) id(character rune) int32 {
	if len(a.others) == 0 {
		return absent
	}
	return a.othersIDs[a.find(character)]
}

// find returns the place of a character that is not ASCII: its own or a free one.
func (a *alphabet) find(character rune) int {
	last := len(a.others) - 1
	i := int(uint32(character)*0x9e3779b1>>8) & last
	for a.othersIDs[i] != absent && a.others[i] != character {
		i = (i + 1) & last
	}
	return i
}

// size returns how many numbers there are, absent among them.
func (a *alphabet) size() int {
	return int(a.count) + 1
}
