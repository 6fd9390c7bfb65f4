package store

// What the tests of this directory see of the search.

func SearchText(sender, content, metadata string) string {
	return string(appendSearchText(nil, []byte(sender), []byte(content), []byte(metadata)))
}

// SearchPatterns returns the patterns that find every text with a score of at least score, and whether there are any.
func SearchPatterns(query string, score float64, foldsUnicode bool) ([]string, bool) {
	p := newSearchPatterns(query, foldsUnicode)
	edits := p.edits(score)
	if edits > p.most {
		return nil, false
	}
	return p.like(edits), true
}
