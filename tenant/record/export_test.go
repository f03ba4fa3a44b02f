package record

// RebuildLock is rebuildLock.
const RebuildLock int64 = rebuildLock
