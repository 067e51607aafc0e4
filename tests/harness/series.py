"""A page of metrics, read as Prometheus reads it."""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Series:
    """Samples by name and labels."""

    samples: list[tuple[str, dict[str, str], float]]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels; 0 where there are none."""
        return sum(value for _, value in self.of(name, **labels))

    def of(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of the samples that have these labels."""
        return [
            (found, value)
            for sample, found, value in self.samples
            if sample == name and labels.items() <= found.items()
        ]


def read(page: str) -> Series:
    """Parse the text format."""
    return Series(
        [
            (sample.name, dict(sample.labels), float(sample.value))
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        ]
    )
