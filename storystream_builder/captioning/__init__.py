"""What a picture shows and how it appeals: lines, measurements, endpoints, local networks, files."""
