"""What was tried in an output, and what failed."""

from dataclasses import dataclass, field


@dataclass
class Checked:
    """What was tried in one output, and what failed."""

    output: str
    tried: int = 0
    failed: list[str] = field(default_factory=list)

    def check(self, good: bool, what: str) -> None:
        """Count one check."""
        self.tried += 1
        if not good:
            self.failed.append(what)

    @property
    def line(self) -> str:
        """One line of the table."""
        first = f"   e.g. {ascii(self.failed[0])[:100]}" if self.failed else ""
        return f"{self.output:44} {self.tried:6} {len(self.failed):6}{first}"
