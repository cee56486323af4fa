"""The chapters' notebooks kept in shape: their form, their cells, their outputs."""
