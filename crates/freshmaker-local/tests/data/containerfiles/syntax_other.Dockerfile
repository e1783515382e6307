# syntax=registry.example.com/team/frontend:1
FROM alpine:3.20
