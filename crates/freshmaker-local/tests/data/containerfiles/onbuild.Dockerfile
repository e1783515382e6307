FROM node:22
ONBUILD COPY --from=tools:1 /a /a
ONBUILD RUN --mount=type=bind,from=0,target=/x true
ONBUILD COPY . .
