FROM debian:12 AS base
FROM node:22 AS lint
RUN npm run lint
FROM lint AS docs
FROM base
