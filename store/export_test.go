package store

// What the tests of this directory see of the search.

func SearchText(sender, content, metadata string) string {
	return string(appendSearchText(nil, []byte(sender), []byte(content), []byte(metadata)))
}

// SearchPatterns returns the patterns that find every text with a score of at least score, and whether there are any.
func SearchPatterns(query string, score float64, foldsUnicode bool, sample ...string) ([]string, bool) {
	texts := make([][]byte, len(sample))
	for i := range sample {
		texts[i] = []byte(sample[i])
	}
	p := newSearchPatterns(query, foldsUnicode, texts)
	return p.like(p.edits(score))
}

// SetFollowPage makes followers of m read pages of n messages. Nobody may follow yet.
func SetFollowPage(m *Manager, n int) { m.feeds.messages.page = n }
