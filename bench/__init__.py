"""The benchmark: raw COPY, ragledger and its peers on the same rows, interleaved in one run.

    events ─► topic and COPY file ─► rounds of [ reset ─ measure ─ check ] ─► summary ─► table, JSON, docs

Every figure that is compared comes from one run on one machine; what is kept is the ratio.
"""
