"""Charts with Vega-Lite: what they show, and what all of them share."""
