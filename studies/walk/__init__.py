"""The walk: the whole search at many origins, each winner judged on the block that follows it."""
