"""Events as a person reads them, or as JSON lines for a program (side: owner).

The only place of the command line that knows how an event looks. One file for the events of each module of
`client.events`, as lines: a mark, a text, a style. `terminal` prints them, and what is more than lines.
"""

from client.rendering.live import live_view
from client.rendering.show import JsonLines, Show
from client.rendering.terminal import Terminal
from client.rendering.words import trust_words

__all__ = ["JsonLines", "Show", "Terminal", "live_view", "trust_words"]
