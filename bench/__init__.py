"""The benchmark: raw COPY, ragledger and its peers on the same rows, interleaved in one run.

    events ─► topic and COPY file ─► rounds of [ reset ─ measure ─ check ] ─► summary ─► table, JSON, docs

All compared figures come from one run on one machine. Only their ratios can be compared with other machines.
"""
