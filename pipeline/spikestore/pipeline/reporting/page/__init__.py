"""The page of a report: pictures, charts, and one HTML file."""
