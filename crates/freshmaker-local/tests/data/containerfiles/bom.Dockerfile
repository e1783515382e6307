# freshmaker: image=registry.example.com/bom:1
FROM debian:12
