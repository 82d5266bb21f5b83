"""Reports: self-contained HTML pages made from results."""
