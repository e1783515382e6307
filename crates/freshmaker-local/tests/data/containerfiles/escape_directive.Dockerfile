# syntax=docker/dockerfile:1
# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2022 `
  AS base
COPY . C:\
FROM base
COPY `
  --from=tools:1 `
  C:\a C:\
