from debian:12 as B
run true
From alpine
copy --from=b /x /x
copy --from=0 /y /y
