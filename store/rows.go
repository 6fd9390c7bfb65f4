package store

// convert returns what fn makes of each row.
func convert[From, To any](rows []From, fn func(From) To) []To {
	converted := make([]To, len(rows))
	for i, row := range rows {
		converted[i] = fn(row)
	}
	return converted
}
