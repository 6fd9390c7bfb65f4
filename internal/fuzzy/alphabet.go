package fuzzy

import "unicode/utf8"

// absent is the number of every character that the query does not have.
const absent = 0

// alphabet numbers the distinct characters of the query from 1.
type alphabet struct {
	ascii [utf8.RuneSelf]int32
	other map[rune]int32
	count int32
}

// add returns the number of the character and gives it one when it has none.
func (a *alphabet) add(character rune) int32 {
	if id := a.id(character); id != absent {
		return id
	}
	a.count++
	if character < utf8.RuneSelf {
		a.ascii[character] = a.count
		return a.count
	}
	if a.other == nil {
		a.other = make(map[rune]int32)
	}
	a.other[character] = a.count
	return a.count
}

// id returns the number of the character, absent when the query does not have it.
func (a *alphabet) id(character rune) int32 {
	if character < utf8.RuneSelf {
		return a.ascii[character]
	}
	if a.other == nil {
		return absent
	}
	return a.other[character]
}

// size returns how many numbers there are, absent among them.
func (a *alphabet) size() int {
	return int(a.count) + 1
}
