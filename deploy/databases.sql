-- Run once by PostgreSQL on an empty volume; Prefect's database is made by POSTGRES_DB.
CREATE DATABASE label_studio;
