"""Shell wildcards in one segment of a path; loaded when there are any but a whole "*", all that Heirloom uses."""


def matches(text: str, pattern: str) -> bool:
    """fnmatch.fnmatchcase: `*`, `?`, `[a-z]`, `[!a-z]`; time at most len(text) * len(pattern)."""
    i = j = 0
    star = -1  # where in the pattern the last star was, and what of the text it has taken so far
    taken = 0
    while i < len(text):
        following = j
        if j < len(pattern) and pattern[j] == "*":
            star, taken = j, i
            j += 1
            continue
        if j < len(pattern):
            following = _one(text[i], pattern, j)
        if following > j:
            i += 1
            j = following
        elif star >= 0:
            taken += 1
            i, j = taken, star + 1
        else:
            return False
    while j < len(pattern) and pattern[j] == "*":
        j += 1
    return j == len(pattern)


def _one(character: str, pattern: str, at: int) -> int:
    """Where the pattern goes on after its element at `at` if that matches the character, else `at`."""
    if pattern[at] == "?":
        return at + 1
    if pattern[at] == "[":
        first = at + 2 if pattern[at + 1 : at + 2] == "!" else at + 1
        end = pattern.find("]", first + 1)  # a "]" in the first place stands for itself
        if end > 0:
            inside = _in_set(character, pattern[first:end])
            return end + 1 if inside != (first == at + 2) else at
    return at + 1 if pattern[at] == character else at


def _in_set(character: str, members: str) -> bool:
    i = 0
    while i < len(members):
        if i + 2 < len(members) and members[i + 1] == "-":
            if members[i] <= character <= members[i + 2]:
                return True
            i += 3
        else:
            if members[i] == character:
                return True
            i += 1
    return False
