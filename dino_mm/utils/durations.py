"""Spans of time for people."""


def format_duration(seconds: float) -> str:
    """A span in its two largest units.

    Example:
        >>> format_duration(42.4), format_duration(754), format_duration(9000)
        ('42 s', '12 min 34 s', '2 h 30 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f'{seconds} s'
    if seconds < 3600:
        return f'{seconds // 60} min {seconds % 60} s'
    if seconds < 48 * 3600:
        return f'{seconds // 3600} h {seconds % 3600 // 60} min'
    return f'{seconds // 86400} d {seconds % 86400 // 3600} h'
