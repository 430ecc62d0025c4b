"""The transform of `tests/guests/stamped` in Python, by hand against `wit/v0.1`: the value of each record, and who handled it."""

from wit_world import exports
from wit_world.imports.types import (
    Batch,
    Column,
    DataType_Binary,
    DataType_Int32,
    Descriptor,
    Field,
    Input_Raw,
    Origin_Computed,
    Output,
    OutputSchema,
    Payload_Raw,
    Processed,
    Values_Int32,
)

# No build of the transform in Rust that the test makes has this number.
STAMP = 314


class Transform(exports.Transform):
    def describe(self, config: str) -> Descriptor:
        value = Field("value", DataType_Binary(), nullable=True, children=0)
        stamp = Field("stamp", DataType_Int32(), nullable=False, children=0)
        records = OutputSchema("records", [value, stamp], [Origin_Computed(), Origin_Computed()])
        return Descriptor("stamped", "0.2.0", Input_Raw(), [records], config_schema=None)

    def init(self, config: str) -> None:
        pass

    def process(self, batch: Batch) -> Processed:
        assert isinstance(batch.payload, Payload_Raw), "describe asked for raw records"
        count = len(batch.offsets)
        # The values go on as they came, in their column: no object is made for any of them.
        stamps = Column(validity=b"", values=Values_Int32([STAMP] * count))
        rows = Output(0, lineage=list(range(count)), columns=[batch.payload.value.values, stamps])
        return Processed(outputs=[rows], rejections=[])
