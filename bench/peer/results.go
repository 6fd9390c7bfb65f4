package peer

import "github.com/sharedcontext/sharedcontext/v2/store"

// pageByOffset returns the page of these messages, of total visible ones.
func pageByOffset(messages []store.Message, offset int, total int64) store.MessagePage {
	page := store.MessagePage{Messages: messages, TotalCount: total}
	if n := len(messages); n > 0 {
		page.HasMore = int64(offset+n) < total
		page.Next = messages[n-1].Cursor()
	}
	return page
}

// pageAfter returns the page of these messages, of which one more than a page was asked for.
func pageAfter(messages []store.Message, after store.MessageCursor) store.MessagePage {
	page := store.MessagePage{Messages: messages, TotalCount: -1, Next: after}
	if len(messages) > pageSize {
		page.Messages, page.HasMore = messages[:pageSize], true
	}
	if n := len(page.Messages); n > 0 {
		page.Next = page.Messages[n-1].Cursor()
	}
	return page
}

// memoryPage returns the page of these entries, of which one more than a page was asked for.
func memoryPage(entries []store.MemoryInfo) store.MemoryPage {
	page := store.MemoryPage{Entries: entries}
	if len(entries) > pageSize {
		page.Entries, page.HasMore = entries[:pageSize], true
		page.Next = &store.MemoryCursor{Key: entries[pageSize-1].Key}
	}
	return page
}
